// Reassembly in Kafka Streams, a baseline: messages to segments of a second, with durable state.
//
//   java -cp … Reassembly.java KAFKA SCHEMA-FILE RECORDS FOLDER
//
// Reads RECORDS records of voxology.messages and prints their cost, and that of the second half separately: by then
// the code is compiled. It expects each track in order, as the benchmark sends it. It has no reorder buffer, and so
// does less than assemble.

import java.io.ByteArrayOutputStream;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

public class Reassembly {
    static final int SEGMENT = 8000;
    static final int FRAMING = 10;
    static final Schema OUT = new Schema.Parser().parse("""
        {"type": "record", "name": "Segment", "fields": [{"name": "stream_id", "type": "long"},
         {"name": "track", "type": "string"}, {"name": "first_sample", "type": "long"},
         {"name": "audio", "type": "bytes"}]}""");

    static long seen, cpuFirst, cpuHalf, wallFirst, wallHalf;

    static long cpu() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
            .getProcessCpuTime();
    }

    /** A track's state: the next sequence number, the first sample held, and the audio held. */
    static class Assemble implements Processor<byte[], byte[], byte[], byte[]> {
        final GenericDatumReader<GenericRecord> reader;
        final GenericDatumWriter<GenericRecord> writer = new GenericDatumWriter<>(OUT);
        final long records;
        final CountDownLatch done;
        BinaryDecoder decoder;
        BinaryEncoder encoder;
        GenericRecord message;
        ProcessorContext<byte[], byte[]> context;
        KeyValueStore<String, byte[]> store;

        Assemble(Schema schema, long records, CountDownLatch done) {
            this.reader = new GenericDatumReader<>(schema);
            this.records = records;
            this.done = done;
        }

        @Override public void init(ProcessorContext<byte[], byte[]> given) {
            context = given;
            store = given.getStateStore("tracks");
        }

        @Override public void process(Record<byte[], byte[]> record) {
            try {
                if (seen++ == 0) { cpuFirst = cpu(); wallFirst = System.nanoTime(); }
                take(record);
                if (seen == records / 2) { cpuHalf = cpu(); wallHalf = System.nanoTime(); }
                if (seen == records) done.countDown();
            } catch (java.io.IOException error) {
                throw new RuntimeException(error);
            }
        }

        void take(Record<byte[], byte[]> record) throws java.io.IOException {
            byte[] value = record.value();
            decoder = DecoderFactory.get().binaryDecoder(value, FRAMING, value.length - FRAMING, decoder);
            message = reader.read(message, decoder);
            if (!message.get("type").toString().equals("live_track")) return;
            GenericRecord chunk = (GenericRecord) message.get("payload");
            long stream = (long) message.get("stream_id"), number = (long) chunk.get("track_sequence_number");
            String track = chunk.get("name").toString(), key = stream + "/" + track;
            ByteBuffer media = (ByteBuffer) chunk.get("media");
            byte[] before = store.get(key);
            long next = 2, first = 0;
            byte[] held = new byte[0];
            if (before != null) {
                ByteBuffer state = ByteBuffer.wrap(before);
                next = state.getLong();
                first = state.getLong();
                held = new byte[state.remaining()];
                state.get(held);
            }
            if (number != next) throw new IllegalStateException(key + ": " + number + " where " + next + " was next");
            byte[] audio = new byte[held.length + media.remaining()];
            System.arraycopy(held, 0, audio, 0, held.length);
            media.get(audio, held.length, media.remaining());
            int from = 0;
            for (; audio.length - from >= SEGMENT; from += SEGMENT, first += SEGMENT) {
                GenericRecord segment = new GenericData.Record(OUT);
                segment.put("stream_id", stream);
                segment.put("track", track);
                segment.put("first_sample", first);
                segment.put("audio", ByteBuffer.wrap(audio, from, SEGMENT));
                ByteArrayOutputStream out = new ByteArrayOutputStream(SEGMENT + 64);
                encoder = EncoderFactory.get().directBinaryEncoder(out, encoder);
                writer.write(segment, encoder);
                context.forward(record.withValue(out.toByteArray()));
            }
            ByteBuffer after = ByteBuffer.allocate(16 + audio.length - from);
            after.putLong(number + 1).putLong(first).put(audio, from, audio.length - from);
            store.put(key, after.array());
        }
    }

    public static void main(String[] arguments) throws Exception {
        Schema schema = new Schema.Parser().parse(Files.readString(Path.of(arguments[1])));
        long records = Long.parseLong(arguments[2]);
        CountDownLatch done = new CountDownLatch(1);
        Topology topology = new Topology();
        topology.addSource("messages", "voxology.messages");
        topology.addProcessor("assemble", () -> new Assemble(schema, records, done), "messages");
        topology.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("tracks"),
            Serdes.String(), Serdes.ByteArray()).withCachingEnabled(), "assemble");
        topology.addSink("tracks", "bench.tracks", "assemble");
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "bench-" + System.nanoTime());
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[3]);
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        KafkaStreams streams = new KafkaStreams(topology, settings);
        streams.start();
        done.await();
        streams.close();  // what was put out and kept is acknowledged and committed by then
        long cpu = cpu(), wall = System.nanoTime();
        String cost = "{\"records\": %d, \"cpu_s\": %.6f, \"wall_s\": %.6f}";
        System.out.printf("[" + cost + ", " + cost + "]%n",
            records, (cpu - cpuFirst) / 1e9, (wall - wallFirst) / 1e9,
            records - records / 2, (cpu - cpuHalf) / 1e9, (wall - wallHalf) / 1e9);
        System.exit(0);
    }
}
