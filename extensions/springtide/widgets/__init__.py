"""Jobs in a notebook: a form to launch applications, and a live table of one's jobs. The truth lives in the ledger."""
