"""What Piccolo looks for (`PICCOLO_CONF`) when it migrates."""

from piccolo.conf.apps import AppRegistry

from acmehub.storage.piccolo_engine import DB as DB

APP_REGISTRY = AppRegistry(apps=["acmehub.storage.piccolo_app"])
