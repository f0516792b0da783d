"""The collections of an index: entities with their vectors, words and scalar fields, and the states that count."""

from typing import Any

__all__ = ["LONGEST_TEXT", "make_collections"]

_LONGEST = 65_535  # bytes that Milvus takes of a text field
LONGEST_TEXT = 60_000
"""Bytes of a case's text that are searched for words: what Milvus takes, less room for a cut character."""


def make_collections(client: Any, collection: str, states: str, dimension: int) -> None:
    """Make the collection of entities, and the small one of states beside it."""
    from pymilvus import DataType, Function, FunctionType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row", DataType.VARCHAR, max_length=64, is_primary=True)
    for name, longest in (("case_id", 1000), ("patient", 1000), ("kind", 100), ("content", 200), ("file", 200)):
        schema.add_field(name, DataType.VARCHAR, max_length=longest)
    schema.add_field("number", DataType.INT64)
    schema.add_field("born", DataType.INT64)
    schema.add_field("head", DataType.BOOL)  # the first view of a case stands for it
    schema.add_field("labels", DataType.VARCHAR, max_length=_LONGEST)
    schema.add_field("facts", DataType.JSON)
    schema.add_field("text", DataType.VARCHAR, max_length=_LONGEST, enable_analyzer=True)
    schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
    schema.add_function(
        Function(name="bm25", function_type=FunctionType.BM25, input_field_names=["text"], output_field_names=["words"])
    )
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="IP")
    index.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_collection(collection, schema=schema, index_params=index, consistency_level="Strong")
    state = client.create_schema(auto_id=False, enable_dynamic_field=False)
    state.add_field("name", DataType.VARCHAR, max_length=20, is_primary=True)
    state.add_field("value", DataType.JSON)
    state.add_field("unused", DataType.FLOAT_VECTOR, dim=2)  # Milvus wants one
    index = client.prepare_index_params()
    index.add_index("unused", index_type="FLAT", metric_type="IP")
    client.create_collection(states, schema=state, index_params=index, consistency_level="Strong")
