"""The storage, written once over SQL for two engines.

`tables` and `migrations` are the schema (Piccolo); `orders`, `accounts` … are the verbs of `ports.store`, each a unit
of work: a generator that yields statements and gets rows back. A driver (`sqlite`, or a plugin's) runs units; `store`
puts the nouns together.
"""
