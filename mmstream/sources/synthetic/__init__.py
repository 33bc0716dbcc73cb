"""Rendered cameras: four scenes that look and sound alive, with scripted unusual events.

They exist so that a newcomer sees a real alert without owning a camera: what they show is encoded
to H.264 and AAC and read back through the real decode path, from files (`render_clip`) or live
(`mmstream.sources.camera_http`).
"""

from __future__ import annotations

from mmstream.sources.synthetic.events import SCRIPTS, Script, ScriptedEvent, demo_script, quiet_script
from mmstream.sources.synthetic.render import SCENES, SceneEncoder, make_scene, render_clip
from mmstream.sources.synthetic.scene import RenderedScene, Scene

__all__ = [
    "SCENES",
    "SCRIPTS",
    "RenderedScene",
    "Scene",
    "SceneEncoder",
    "Script",
    "ScriptedEvent",
    "demo_script",
    "make_scene",
    "quiet_script",
    "render_clip",
]
