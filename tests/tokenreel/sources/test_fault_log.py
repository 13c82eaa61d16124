from __future__ import annotations

import random

from tokenreel.sources.fault_log import Fault, FaultLog


def test_what_is_kept_does_not_depend_on_the_order_of_coming() -> None:
    faults = [(file, Fault(f"{file}", position, 0, reason, "", "")) for file in range(3) for position in range(50) for reason in ("a", "b")]
    expected = [fault for file, fault in faults if file == 0 and fault.position < 9]
    for seed in range(20):
        log = FaultLog(most=9)
        for file, fault in random.Random(seed).sample(faults, k=len(faults)):
            wanted = log.wants(fault.reason, file, fault.position)
            before = log.faults()
            log.add(file, fault)
            assert wanted == (log.faults() != before)
        assert [(fault.position, fault.reason) for fault in sorted(log.faults(), key=lambda fault: (fault.position, fault.reason))] == [
            (fault.position, fault.reason) for fault in expected
        ]
