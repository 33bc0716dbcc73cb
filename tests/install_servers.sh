#!/usr/bin/env bash
# Installs the servers that the tests talk to, with apt where that is possible, and says plainly what
# is missing where it is not. The tests that need a missing server fail; none is skipped in silence.
set -u
packages=()
need() { # need COMMAND PACKAGE...: install the packages unless the check succeeds
    local check=$1
    shift
    bash -c "$check" >/dev/null 2>&1 || packages+=("$@")
}
need "command -v redis-server" redis-server
need "command -v chromium" chromium
need "/usr/bin/python3 -c \"import gi; gi.require_version('GstRtspServer','1.0'); from gi.repository import GstRtspServer\"" \
    python3-gi gir1.2-gst-rtsp-server-1.0
for element in x264enc:ugly avenc_aac:libav rtph264pay:good h265parse:bad videotestsrc:base; do
    name=gstreamer1.0-plugins-${element#*:}
    [ "${element#*:}" = libav ] && name=gstreamer1.0-libav
    need "gst-inspect-1.0 ${element%%:*}" gstreamer1.0-tools "$name"
done
need "ls /usr/lib/*/gio/modules/libgiognutls.so" glib-networking
need "command -v openssl" openssl
[ ${#packages[@]} -eq 0 ] && exit 0
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    echo "Installing test servers: ${packages[*]}"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null && exit 0
    echo "apt could not install: ${packages[*]}" >&2
    exit 1
fi
echo "These are missing, and apt is not available to this user: ${packages[*]}" >&2
echo "Install them with: sudo apt-get install ${packages[*]}" >&2
exit 1
