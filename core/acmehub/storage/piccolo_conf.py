"""What Piccolo looks for (`PICCOLO_CONF`) when it migrates: an app named `acmehub` with the tables and migrations."""

from pathlib import Path

from piccolo.conf.apps import AppConfig, AppRegistry

from acmehub.storage.piccolo_engine import DB as DB
from acmehub.storage.tables import TABLES

APP_CONFIG = AppConfig(
    app_name="acmehub",
    migrations_folder_path=str(Path(__file__).parent / "migrations"),
    table_classes=list(TABLES),
)
APP_REGISTRY = AppRegistry(apps=[__name__])
