"""Files as other packages write them, read by ours: `make test-writers`."""
