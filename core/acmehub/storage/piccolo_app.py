"""Piccolo's view of the storage: an app named `acmehub` with its tables and migrations."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from acmehub.storage.tables import TABLES

APP_CONFIG = AppConfig(
    app_name="acmehub",
    migrations_folder_path=str(Path(__file__).parent / "migrations"),
    table_classes=list(TABLES),
)
