"""The control protocol and the messages between daemons."""
