"""The built-in plugins; like all plugins, they are found by entry points and import only public names."""
