"""Networks: fabrics beside the default one."""
