"""The routes of the HTTP API, one file per noun. An endpoint parses, asks the store, answers."""
