"""Step functions of the deployment that Flower watches in the tests."""
