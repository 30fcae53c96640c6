"""The plugins that come with the core: they enter by the same door as any other and import only its public names."""
