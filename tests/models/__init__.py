"""What is tried with models of keras-hub; each module is marked `models`."""
