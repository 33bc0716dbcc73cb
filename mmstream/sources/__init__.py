"""Where feeds come from. A new source is one file here and one line in `SOURCES`."""

SOURCES: dict[str, str] = {
    "media": "mmstream.sources.media:MediaSource",
    "captions": "mmstream.sources.captions:CaptionSource",
    "push": "mmstream.sources.push:PushSource",
}
