"""Every error of ours, in one tree.

TapelineError                      what a person meets, in words
 ├── SchemaError                   what can go wrong with the contract
 │    ├── NotAvroError             the bytes carry no framing we know
 │    ├── UnknownSchemaError       framed, but by a schema nobody can find
 │    ├── CorruptRecordError       the schema is known, and the bytes do not fit it
 │    └── RecordTooLargeError      a record that does not fit its topic
 ├── ClusterError                  settings of Kafka that do not fit together (runtime.cluster)
 ├── BrokerAwayError               no Kafka answers (runtime.clients)
 ├── TopicsError                   the topics are not as they must be
 ├── UnaskedSchemaError            the registry has not been asked for a schema yet
 ├── RegistryAwayError             no schema registry answers (runtime.registry)
 ├── RegistryConfigError           settings of the registry that cannot be used (runtime.registry_config)
 ├── UnauthenticatedListenError    the gateway would take streams from anybody (ingest.gateway)
 ├── UnsupportedWebsocketsError    not the websockets that the gateway knows (ingest.websockets_internals)
 ├── InvalidStreamError           a text that names no stream (schemas.identity)
 ├── TokensError                   a tokens file that cannot be used (ingest.auth)
 ├── CertificateError              a certificate that cannot be used (ingest.credentials)
 ├── SpoolError                    the spool cannot be used (ingest.spool)
 │    └── SpoolDamagedError        what it holds cannot be read
 ├── TooManyTracksError            more tracks and takes than a call has (processors.core.assemble.takes)
 ├── TooMuchKeptError              a stream says more than can be kept (processors.core.kept)
 ├── CheckpointError               a checkpoint damaged, or of another version (processors.core.snapshot)
 ├── UnreadableCheckpointError     a record that cannot be restored (processors.driver.checkpoints)
 ├── InconsistentEventsError       a stream's events contradict each other (processors.core.record.track)
 ├── IncompletePartsError          stored events do not reach to the end (processors.core.record.manifest)
 ├── DamagedManifestError          a manifest cut off, or edited (processors.core.record.manifest_reader)
 ├── FencedError                   another worker has taken the partition (processors.driver.fencing)
 ├── TransactionalIdError          Kafka refuses a transactional id (processors.driver.fencing)
 ├── PartitionTakenError           another worker writes for ours (processors.agents.ownership)
 ├── LogReplacedError              a topic was made anew while it was read (runtime.log_identity)
 ├── LogLostError                  the log ends before what was read of it (processors.agents.log_changes)
 ├── StoreUrlError                 no store is at that URL (processors.storage.store)
 ├── LostFileError                 a store lost what it acknowledged (processors.storage.durable_files)
 ├── RecordingStandsError          a recording stands: no other is written (processors.agents.announcer)
 ├── AdminEndpointError            the admin endpoint cannot listen (tapeline.serving.health)
 ├── EmbeddedKafkaError            the embedded Kafka cannot run (tapeline.local.kafka)
 ├── StackError                    a part of the local stack failed (tapeline.local.stack)
 ├── SpeechError                   eSpeak NG is not there, or refuses (tapeline.emulator.speech)
 ├── AudioFileError                a file that cannot be played (tapeline.emulator.audio_files)
 ├── OracleError                   a file that holds no oracle (tapeline.emulator.oracle)
 ├── PlayError                     the gateway could not be reached (tapeline.emulator.player)
 ├── UnknownSettingError           a name that is no setting, but nearly one (tapeline.environment)
 ├── EnvFileError                  a `.env` that cannot be read (tapeline.environment)
 ├── CommandError                  a command cannot do what it was asked for (tapeline.options)
 ├── UnknownTopicError             no such topic (tapeline.topics.reader)
 ├── SkipError                     a record that cannot be set aside (tapeline.topics.skips)
 ├── DamagedLogError               a batch of the log fails its checksum (tapeline.topics.reader)
 ├── TopicCreationError            the broker would not create a topic (tapeline.topics.create)
 ├── UnreadableStoreError          a store that does not answer (tapeline.checks.recorded)
 ├── NoRecordingError              the store has no such recording (tapeline.report.finding)
 ├── AmbiguousStreamError          the store has several of them (tapeline.report.finding)
 └── UnshowableError               a recording whose files and manifest do not fit (tapeline.report.call)

The command line catches the root in one place and prints its words.
"""

#: Errors of the machine, and of what it is connected to: the same bytes may go through the next time. Whoever
#: takes exceptions for bad input lets these pass. RecursionError is none: it comes of deeply nested input.
ENVIRONMENTAL = (MemoryError, OSError)


class TapelineError(Exception):
    """Base of every error of ours."""


class SchemaError(TapelineError):
    """Base of what can go wrong with the contract."""


class NotAvroError(SchemaError):
    """The value starts with neither Avro's single-object marker nor Confluent's magic byte."""


class UnknownSchemaError(SchemaError):
    """The writer's schema is neither ours nor in the registry."""


class UnaskedSchemaError(TapelineError, OSError):
    """The registry has not been asked for a schema yet. An OSError: that is no fault of the record."""


class CorruptRecordError(SchemaError):
    """The value does not decode by the schema it names."""


class RecordTooLargeError(SchemaError):
    """A record does not fit its topic."""
