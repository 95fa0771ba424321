"""The datapath's layers."""
