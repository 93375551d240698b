// A gateway in Go, a baseline: WebSocket text frames to Avro in Kafka, and nothing else.
//
//	gateway-go KAFKA PORT TOPIC
package main

import (
	"context"
	"encoding/base64"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/bytedance/sonic"
	"github.com/coder/websocket"
	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

type sent struct {
	StreamID    int64  `json:"stream_id"`
	Type        string `json:"type"`
	Number      *int64 `json:"stream_sequence_number"`
	TrackNumber int64  `json:"track_sequence_number"`
	Media       string `json:"media"`
	CallID      string `json:"call_id"`
	Name        string `json:"name"`
}

type liveTrack struct {
	Name        string  `avro:"name"`
	TrackNumber int64   `avro:"track_sequence_number"`
	Media       []byte  `avro:"media"`
	Extra       *string `avro:"extra"`
}

type message struct {
	StreamID   int64     `avro:"stream_id"`
	Type       string    `avro:"type"`
	Number     *int64    `avro:"stream_sequence_number"`
	CallID     *string   `avro:"call_id"`
	ReceivedAt int64     `avro:"received_at"`
	Connection string    `avro:"connection"`
	Sender     *string   `avro:"sender"`
	Payload    liveTrack `avro:"payload"`
}

// One branch of the payload's union is all that is measured, so the schema has but that one.
const schema = `{"type": "record", "name": "Message", "fields": [
	{"name": "stream_id", "type": "long"},
	{"name": "type", "type": "string"},
	{"name": "stream_sequence_number", "type": ["null", "long"]},
	{"name": "call_id", "type": ["null", "string"]},
	{"name": "received_at", "type": "long"},
	{"name": "connection", "type": "string"},
	{"name": "sender", "type": ["null", "string"]},
	{"name": "payload", "type": {"type": "record", "name": "LiveTrack", "fields": [
		{"name": "name", "type": "string"},
		{"name": "track_sequence_number", "type": "long"},
		{"name": "media", "type": "bytes"},
		{"name": "extra", "type": ["null", "string"]}]}}]}`

func main() {
	kafka, port, topic := os.Args[1], os.Args[2], os.Args[3]
	parsed := avro.MustParse(schema)
	client, err := kgo.NewClient(
		kgo.SeedBrokers(kafka),
		kgo.DefaultProduceTopic(topic),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(100_000),
	)
	if err != nil {
		log.Fatal(err)
	}
	headers := []kgo.RecordHeader{{Key: "type", Value: []byte("live_track")}}
	handle := func(out http.ResponseWriter, request *http.Request) {
		socket, err := websocket.Accept(out, request, &websocket.AcceptOptions{
			CompressionMode: websocket.CompressionDisabled,
		})
		if err != nil {
			return
		}
		defer socket.CloseNow()
		socket.SetReadLimit(1 << 20)
		for {
			_, text, err := socket.Read(context.Background())
			if err != nil {
				return
			}
			var in sent
			if sonic.Unmarshal(text, &in) != nil || in.Type != "live_track" {
				continue
			}
			media, err := base64.StdEncoding.DecodeString(in.Media)
			if err != nil {
				continue
			}
			value, err := avro.Marshal(parsed, message{
				StreamID: in.StreamID, Type: in.Type, Number: in.Number, CallID: &in.CallID,
				ReceivedAt: time.Now().UnixMicro(), Connection: "0123456789abcdef",
				Payload: liveTrack{Name: in.Name, TrackNumber: in.TrackNumber, Media: media},
			})
			if err != nil {
				continue
			}
			key := strconv.AppendInt(nil, in.StreamID, 10)
			client.Produce(context.Background(), &kgo.Record{Key: key, Value: value, Headers: headers},
				func(_ *kgo.Record, err error) {
					if err != nil {
						log.Print(err)
					}
				})
		}
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, http.HandlerFunc(handle)))
}
