"""Makes the folder a package to pytest, so that its tests can share one deployment."""
