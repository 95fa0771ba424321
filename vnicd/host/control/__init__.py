"""The control socket: who may use it, and how requests are taken and answered."""
