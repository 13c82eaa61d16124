from tests.documents import documents
from tokenreel.sources.fault_log import Fault
from tokenreel.sources.values import EXCERPT


def test_documents_set_aside_are_faults_in_the_order_of_their_file():
    found = documents("a text", "é" * EXCERPT + "x", "another")
    found.log.add(0, Fault("f", 1, 7, "broken", "read before", ""))
    found.set_aside({2: ("odd", "the last"), 1: ("long", "its excerpt is cut between characters")})
    assert [(fault.position, fault.reason, fault.line) for fault in found.faults] == [(1, "broken", 7), (1, "long", 0), (2, "odd", 0)]
    assert [fault.excerpt for fault in found.faults] == ["", "é" * EXCERPT, "another"]
    assert found.faults[1].message == "its excerpt is cut between characters"
    assert len(found) == 3
