"""Container runtimes for tests: a machine of their own, images without a registry, podman."""
