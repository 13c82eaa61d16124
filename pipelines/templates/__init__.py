"""Jobs that Dataflow launches from a template: what it is told of them, and how its parameters become a command.

`dataflow_templates/` has the image, the description of each job that is generated here, and how to use them.
"""
