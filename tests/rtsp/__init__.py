"""Real RTSP cameras, made with Debian's gst-rtsp-server, and everything that can go wrong with one."""
