"""Worker processes: how they start, and that they end with the build that started them. No PTransforms."""
