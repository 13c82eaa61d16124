"""A finished dataset looked at: verified, reported, shown.

A directory comes in, differences, a page or a few lines of text go out. It never changes the dataset, and the verifier shares no code with
what it checks, beyond the contract.
"""

from tokenreel.inspection.examples import format_example as format_example
from tokenreel.inspection.report import render as render
from tokenreel.inspection.verification import differences as differences
from tokenreel.inspection.verification import verify as verify
