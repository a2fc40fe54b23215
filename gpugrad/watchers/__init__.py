"""Who sees each op run: the watchers of `gpugrad.detect_anomaly` and `gpugrad.profile`."""
