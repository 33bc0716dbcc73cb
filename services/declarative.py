"""The same site for those who deploy Serve applications by a file: KubeRay's RayService, ``serve deploy``.

``import_path: services.declarative:encoder`` with ``args: {site: /etc/mmstream/site.yaml, name: filterbank}``, one
application per entry of ``encoders.replicas``; ``services.declarative:speaker`` likewise, one per model of
``understanding``, named by `services.speakers.speaker_app_name`; and ``services.declarative:api`` with
``args: {site: ...}``.

Serve owns the encoder replicas and the API then, and changes them in place; building the API also starts
what is not Serve's: the ledger, the archive and the supervisor, which starts the shards. The API key is in
``data_dir/api.key``, as ever.
"""

from __future__ import annotations

from ray import serve

from mmstream.config import SiteConfig, load_site
from mmstream.errors import ConfigError
from mmstream.training.versions import with_current
from mmstream.understanding.speaking import roles_of
from services.app import absolute, api_app, start_ledger, start_supervisor
from services.archive import start_archive
from services.encoders import encoder_app
from services.speakers import speaker_app


def _site(args: dict[str, str], *names: str) -> SiteConfig:
    missing = [name for name in ("site", *names) if name not in args]
    if missing:
        raise ConfigError(f"the application's args need {missing[0]!r}, for example site: /etc/mmstream/site.yaml")
    return absolute(load_site(args["site"]))


def encoder(args: dict[str, str]) -> serve.Application:
    """Replicas of the encoder ``args["name"]``.

    Raises:
        ConfigError: the site does not use that encoder.
    """
    site = _site(args, "name")
    section = site.encoders
    if args["name"] not in section.replicas:
        raise ConfigError(f"encoders.replicas has no {args['name']!r}; it has {', '.join(section.replicas)}")
    return encoder_app(args["name"], section.model_copy(update={"options": with_current(site)}))


def speaker(args: dict[str, str]) -> serve.Application:
    """Replicas of the model ``args["name"]`` that is asked about single moments.

    Raises:
        ConfigError: the site does not use that model.
    """
    site = _site(args, "name")
    roles = roles_of(site.understanding)
    if args["name"] not in roles:
        raise ConfigError(f"understanding has no {args['name']!r}; it has {', '.join(roles) or 'no model'}")
    return speaker_app(args["name"], site.understanding, site.encoders)


def api(args: dict[str, str]) -> serve.Application:
    """The API; starts the ledger, the archive and the supervisor beside it unless they run."""
    site = _site(args)
    start_ledger(site)
    start_archive(site)
    start_supervisor(site)
    return api_app(site)
