"""TensorFlow 2's names: its files know a variable by any way to it, such as `trainable_variables_list/17`.

They also keep the graph of the objects that held it, which tells where it belongs
(tensorflow/core/protobuf/trackable_object_graph.proto).
"""

from collections import deque

from twinbench.convert.reading import protobuf

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the name of the text tensor with the graph
VALUE = b"VARIABLE_VALUE"
MAX_PATH = 500  # characters
# Lists of variables, which Keras keeps beside the layers that own them.
_INDIRECT = ("variables", "keras_api")


def paths(graph: bytes | bytearray) -> dict[str, str]:
    """Return for each variable's name in the checkpoint its way by attributes, `model/block_groups/0/conv2d/kernel`.

    It is the shortest from the root that leads through no list of variables. Raises ValueError for what is no graph.
    """
    nodes = [protobuf.fields(node) for node in protobuf.messages(protobuf.fields(graph), 1)]
    found: dict[str, str] = {}
    seen, waiting = {0}, deque([(0, "")])
    while waiting and nodes:
        at, path = waiting.popleft()
        for attribute in map(protobuf.fields, protobuf.messages(nodes[at], 2)):
            if protobuf.messages(attribute, 1) == [VALUE]:
                key = b"".join(protobuf.messages(attribute, 3)).decode("utf-8")
                found.setdefault(key, path)
        for child in map(protobuf.fields, protobuf.messages(nodes[at], 1)):
            node, name = protobuf.number(child, 1), b"".join(protobuf.messages(child, 2)).decode("utf-8")
            if node in seen or any(word in name for word in _INDIRECT):
                continue
            way = f"{path}/{name}" if path else name
            if node >= len(nodes) or len(way) > MAX_PATH:
                raise ValueError("a graph of objects that leads nowhere")
            seen.add(node)
            waiting.append((node, way))
    return found
