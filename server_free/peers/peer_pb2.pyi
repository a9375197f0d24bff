from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelId(_message.Message):
    __slots__ = ("round", "slot", "node")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    round: int
    slot: int
    node: int
    def __init__(self, round: _Optional[int] = ..., slot: _Optional[int] = ..., node: _Optional[int] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("name", "dtype", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("nbytes", "tensors", "chunk_bytes", "crc32")
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    nbytes: int
    tensors: _containers.RepeatedCompositeFieldContainer[Tensor]
    chunk_bytes: int
    crc32: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, nbytes: _Optional[int] = ..., tensors: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., chunk_bytes: _Optional[int] = ..., crc32: _Optional[_Iterable[int]] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("protocol", "training", "id", "requester", "segment", "silence_s", "run", "nonce", "token", "challenge", "via")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTER_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    SILENCE_S_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    VIA_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    training: str
    id: ModelId
    requester: int
    segment: str
    silence_s: float
    run: bytes
    nonce: bytes
    token: bytes
    challenge: bytes
    via: int
    def __init__(self, protocol: _Optional[int] = ..., training: _Optional[str] = ..., id: _Optional[_Union[ModelId, _Mapping]] = ..., requester: _Optional[int] = ..., segment: _Optional[str] = ..., silence_s: _Optional[float] = ..., run: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., token: _Optional[bytes] = ..., challenge: _Optional[bytes] = ..., via: _Optional[int] = ...) -> None: ...

class ProbeRequest(_message.Message):
    __slots__ = ("protocol", "training", "requester", "holder", "run", "nonce", "token", "address")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    REQUESTER_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    training: str
    requester: int
    holder: int
    run: bytes
    nonce: bytes
    token: bytes
    address: str
    def __init__(self, protocol: _Optional[int] = ..., training: _Optional[str] = ..., requester: _Optional[int] = ..., holder: _Optional[int] = ..., run: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., token: _Optional[bytes] = ..., address: _Optional[str] = ...) -> None: ...

class ProbeReply(_message.Message):
    __slots__ = ("version", "protocol", "known", "kind", "reason")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    version: str
    protocol: int
    known: bool
    kind: str
    reason: str
    def __init__(self, version: _Optional[str] = ..., protocol: _Optional[int] = ..., known: bool = ..., kind: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("started", "round", "waiting", "working_s")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    WORKING_S_FIELD_NUMBER: _ClassVar[int]
    started: bool
    round: int
    waiting: bool
    working_s: float
    def __init__(self, started: bool = ..., round: _Optional[int] = ..., waiting: bool = ..., working_s: _Optional[float] = ...) -> None: ...

class Absent(_message.Message):
    __slots__ = ("kind", "reason")
    KIND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    kind: str
    reason: str
    def __init__(self, kind: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class FetchFrame(_message.Message):
    __slots__ = ("not_ready", "absent", "header", "challenge", "known_missing", "state")
    class KnownMissingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    NOT_READY_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    KNOWN_MISSING_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    not_ready: State
    absent: Absent
    header: Header
    challenge: bytes
    known_missing: _containers.ScalarMap[int, str]
    state: State
    def __init__(self, not_ready: _Optional[_Union[State, _Mapping]] = ..., absent: _Optional[_Union[Absent, _Mapping]] = ..., header: _Optional[_Union[Header, _Mapping]] = ..., challenge: _Optional[bytes] = ..., known_missing: _Optional[_Mapping[int, str]] = ..., state: _Optional[_Union[State, _Mapping]] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeReply(_message.Message):
    __slots__ = ("address", "version", "protocol", "tls", "certfile", "keyfile", "ca_certfile")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    CERTFILE_FIELD_NUMBER: _ClassVar[int]
    KEYFILE_FIELD_NUMBER: _ClassVar[int]
    CA_CERTFILE_FIELD_NUMBER: _ClassVar[int]
    address: str
    version: str
    protocol: int
    tls: bool
    certfile: str
    keyfile: str
    ca_certfile: str
    def __init__(self, address: _Optional[str] = ..., version: _Optional[str] = ..., protocol: _Optional[int] = ..., tls: bool = ..., certfile: _Optional[str] = ..., keyfile: _Optional[str] = ..., ca_certfile: _Optional[str] = ...) -> None: ...

class OpenRequest(_message.Message):
    __slots__ = ("training", "key", "addresses", "segment", "final", "resumed", "relayed")
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    RELAYED_FIELD_NUMBER: _ClassVar[int]
    training: str
    key: bytes
    addresses: _containers.RepeatedScalarFieldContainer[str]
    segment: str
    final: bool
    resumed: int
    relayed: _containers.RepeatedCompositeFieldContainer[Relayed]
    def __init__(self, training: _Optional[str] = ..., key: _Optional[bytes] = ..., addresses: _Optional[_Iterable[str]] = ..., segment: _Optional[str] = ..., final: bool = ..., resumed: _Optional[int] = ..., relayed: _Optional[_Iterable[_Union[Relayed, _Mapping]]] = ...) -> None: ...

class Relayed(_message.Message):
    __slots__ = ("reader", "holder", "relay")
    READER_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    RELAY_FIELD_NUMBER: _ClassVar[int]
    reader: int
    holder: int
    relay: int
    def __init__(self, reader: _Optional[int] = ..., holder: _Optional[int] = ..., relay: _Optional[int] = ...) -> None: ...

class OpenReply(_message.Message):
    __slots__ = ("peer", "max_bytes", "known_missing")
    class KnownMissingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    PEER_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    KNOWN_MISSING_FIELD_NUMBER: _ClassVar[int]
    peer: DescribeReply
    max_bytes: int
    known_missing: _containers.ScalarMap[int, str]
    def __init__(self, peer: _Optional[_Union[DescribeReply, _Mapping]] = ..., max_bytes: _Optional[int] = ..., known_missing: _Optional[_Mapping[int, str]] = ...) -> None: ...

class AttachRequest(_message.Message):
    __slots__ = ("training", "node", "segment", "last", "first", "run")
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    training: str
    node: int
    segment: str
    last: int
    first: int
    run: bytes
    def __init__(self, training: _Optional[str] = ..., node: _Optional[int] = ..., segment: _Optional[str] = ..., last: _Optional[int] = ..., first: _Optional[int] = ..., run: _Optional[bytes] = ...) -> None: ...

class Attached(_message.Message):
    __slots__ = ("attachment",)
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    attachment: int
    def __init__(self, attachment: _Optional[int] = ...) -> None: ...

class DetachRequest(_message.Message):
    __slots__ = ("attachment", "failure")
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    attachment: int
    failure: str
    def __init__(self, attachment: _Optional[int] = ..., failure: _Optional[str] = ...) -> None: ...

class DetachReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WaitRequest(_message.Message):
    __slots__ = ("attachment", "waiting")
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    attachment: int
    waiting: bool
    def __init__(self, attachment: _Optional[int] = ..., waiting: bool = ...) -> None: ...

class WaitReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PublishHeader(_message.Message):
    __slots__ = ("training", "id", "readers", "header", "keep", "run")
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    READERS_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    training: str
    id: ModelId
    readers: _containers.RepeatedScalarFieldContainer[int]
    header: Header
    keep: bool
    run: bytes
    def __init__(self, training: _Optional[str] = ..., id: _Optional[_Union[ModelId, _Mapping]] = ..., readers: _Optional[_Iterable[int]] = ..., header: _Optional[_Union[Header, _Mapping]] = ..., keep: bool = ..., run: _Optional[bytes] = ...) -> None: ...

class Checksums(_message.Message):
    __slots__ = ("crc32",)
    CRC32_FIELD_NUMBER: _ClassVar[int]
    crc32: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, crc32: _Optional[_Iterable[int]] = ...) -> None: ...

class PublishFrame(_message.Message):
    __slots__ = ("header", "checksums")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHECKSUMS_FIELD_NUMBER: _ClassVar[int]
    header: PublishHeader
    checksums: Checksums
    def __init__(self, header: _Optional[_Union[PublishHeader, _Mapping]] = ..., checksums: _Optional[_Union[Checksums, _Mapping]] = ...) -> None: ...

class PublishReply(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class ReportMissingRequest(_message.Message):
    __slots__ = ("training", "segment", "missing", "found", "run")
    class MissingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    training: str
    segment: str
    missing: _containers.ScalarMap[int, str]
    found: _containers.RepeatedScalarFieldContainer[int]
    run: bytes
    def __init__(self, training: _Optional[str] = ..., segment: _Optional[str] = ..., missing: _Optional[_Mapping[int, str]] = ..., found: _Optional[_Iterable[int]] = ..., run: _Optional[bytes] = ...) -> None: ...

class ReportMissingReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
