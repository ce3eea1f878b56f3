"""ONNX graphs as bytes: the few kinds of messages that a network of convolutions needs.

The graph contains no weights. They are declared as external and handed over when a session is created, so that the
weights files stay their only source, and a graph fits weights of any width and convolutions of any dilation.

The messages are protocol buffers. Their fields are numbered as in ``onnx.proto``, IR version 8.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Value = int | str | tuple[int, ...]

_IR, _OPSET = 8, 17
_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_TYPES = {int: (3, 2), str: (4, 3), tuple: (8, 7)}  # field of AttributeProto, and AttributeType


@dataclass
class Graph:
    """An ONNX graph that is being built; tensors are known by name.

    Attributes:
        external: Shapes of the weights, by name.
    """

    external: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _nodes: list[bytes] = field(default_factory=list)
    _tensors: list[bytes] = field(default_factory=list)
    _known: dict[bytes, str] = field(default_factory=dict)

    def add(self, operator: str, *inputs: str, **attributes: Value) -> str:
        """Add a node.

        Args:
            operator: Name of an ONNX operator with one output.
            inputs: Names of its inputs.
            attributes: Its attributes.

        Returns:
            The name of its output.
        """
        return self._add(operator, inputs, f"{operator}_{len(self._nodes)}", attributes)

    def output(self, tensor: str, name: str) -> None:
        """Return a tensor from the graph under a name."""
        self._add("Identity", (tensor,), name, {})

    def _add(self, operator: str, inputs: tuple[str, ...], output: str, attributes: dict[str, Value]) -> str:
        node = [_text(1, one) for one in inputs] + [_text(2, output), _text(4, operator)]
        node += [_bytes(5, _attribute(key, value)) for key, value in attributes.items()]
        self._nodes.append(b"".join(node))
        return output

    def weight(self, name: str, shape: tuple[int, ...]) -> str:
        """Declare a float32 weight, whose values are given when a session is created; return its name."""
        if name not in self.external:
            self.external[name] = shape
            where = _bytes(13, _text(1, "location") + _text(2, "given"))
            self._tensors.append(_tensor_head(name, shape, _FLOAT) + where + _number(14, 1))
        return name

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Add a small constant, float32 or int64; return its name."""
        data_type = _INT64 if values.dtype == np.int64 else _FLOAT
        content = _bytes(9, values.astype(values.dtype.newbyteorder("<")).tobytes())
        key = _tensor_head("", values.shape, data_type) + content
        if key not in self._known:
            self._known[key] = f"constant_{len(self._known)}"
            self._tensors.append(_tensor_head(self._known[key], values.shape, data_type) + content)
        return self._known[key]

    def serialise(self, inputs: dict[str, int], outputs: dict[str, int]) -> bytes:
        """Return the graph as an ONNX file.

        Args:
            inputs: Number of dimensions of each input; their sizes are free.
            outputs: The same for each output.
        """
        graph = [_bytes(1, node) for node in self._nodes] + [_text(2, "semcorr")]
        graph += [_bytes(5, tensor) for tensor in self._tensors]
        graph += [_bytes(11, _tensor_type(name, count)) for name, count in inputs.items()]
        graph += [_bytes(12, _tensor_type(name, count)) for name, count in outputs.items()]
        opset = _bytes(8, _text(1, "") + _number(2, _OPSET))
        return _number(1, _IR) + _text(2, "semcorr") + _bytes(7, b"".join(graph)) + opset


def _attribute(name: str, value: Value) -> bytes:
    where, kind = _TYPES[type(value)]
    if isinstance(value, str):
        content = _text(where, value)
    elif isinstance(value, int):
        content = _number(where, value)
    else:
        content = b"".join(_number(where, one) for one in value)
    return _text(1, name) + content + _number(20, kind)


def _tensor_head(name: str, shape: tuple[int, ...], data_type: int) -> bytes:
    return b"".join(_number(1, size) for size in shape) + _number(2, data_type) + _text(8, name)


def _tensor_type(name: str, dimensions: int) -> bytes:
    shape = b"".join(_bytes(1, _text(2, f"{name}_{axis}")) for axis in range(dimensions))
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, shape)))


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # a negative number is its two's complement
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(where: int, value: int) -> bytes:
    return _varint(where << 3) + _varint(value)


def _bytes(where: int, content: bytes) -> bytes:
    return _varint(where << 3 | 2) + _varint(len(content)) + content


def _text(where: int, content: str) -> bytes:
    return _bytes(where, content.encode())
