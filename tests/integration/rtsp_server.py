"""A real RTSP server on loopback, for tests: GStreamer's, run by the system's Python, which has its bindings.

    python3 rtsp_server.py --port 0 --clip a=/tmp/a.mp4 --clip b=/tmp/b.mp4:h265 [--user U --password P]

Prints one line, `ready PORT`, then serves rtsp://127.0.0.1:PORT/a and .../b until it is killed. Clips must be MP4
without B frames. Give each client a name of its own: clients of one name share its media, and GStreamer's server may
lock up when they come and go at once.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINES = {
    "h264": "( filesrc location={} ! qtdemux ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 )",
    "h265": "( filesrc location={} ! qtdemux ! h265parse config-interval=-1 ! rtph265pay name=pay0 pt=96 )",
}


def _demand_password(
    server: "GstRtspServer.RTSPServer", factories: "list[GstRtspServer.RTSPMediaFactory]", user: str, password: str
) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    for factory in factories:
        factory.add_role_from_structure(
            Gst.Structure.new_from_string("viewer, media.factory.access=true, media.factory.construct=true")
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--clip", action="append", default=[])
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factories = []
    for clip in options.clip:
        name, _, where = clip.partition("=")
        path, _, codec = where.partition(":")
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(PIPELINES[codec or "h264"].format(path))
        factory.set_shared(True)
        server.get_mount_points().add_factory(f"/{name}", factory)
        factories.append(factory)
    if options.user:
        _demand_password(server, factories, options.user, options.password)
    if not server.attach(None):
        sys.exit(f"port {options.port} must be free, it is taken")
    print(f"ready {server.get_bound_port()}", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
