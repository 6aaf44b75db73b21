"""Store, StoreReader and ObjectStore on SQL databases."""
