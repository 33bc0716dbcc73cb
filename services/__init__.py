"""The Ray layer: places the objects of `mmstream` on actors and Serve deployments."""
