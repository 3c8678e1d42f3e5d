class Mark:
    index: int
    line: int

class YAMLError(Exception): ...

class Node:
    tag: str
    value: object
    start_mark: Mark
    end_mark: Mark

class ScalarNode(Node):
    value: str

class MappingNode(Node):
    value: list[tuple[Node, Node]]

class SafeLoader:
    def __init__(self, stream: str | bytes) -> None: ...
    def check_node(self) -> bool: ...
    def get_node(self) -> Node: ...
    def construct_object(self, node: Node, deep: bool = ...) -> object: ...

def safe_load(stream: str | bytes) -> object: ...
