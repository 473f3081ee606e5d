// Watchers of a change log, a thousand and more, each over a connection of its own.
//
//	fanout ADDRESS METHOD REQUEST WATCHERS
//
// REQUEST is the hexadecimal form of the request's bytes. Messages are not decoded: their fields
// are counted where they lie, so that the server is what is measured. It says "0" when every
// watcher has had its first message. Each line of input, "CHANGES", is a round: when every watcher
// has been told of so many changes more, it is answered by one line of JSON (Round).
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Round is what was seen in one: deliveries of one change to one watcher.
type Round struct {
	Deliveries int     `json:"deliveries"`
	Seconds    float64 `json:"seconds"` // from the first delivery to the last
	P50        float64 `json:"p50"`     // seconds from the first watcher told to each other one
	P99        float64 `json:"p99"`
	// Messages as the first watcher had them, and when (seconds from its first).
	Messages []string  `json:"messages"`
	Times    []float64 `json:"times"`
}

// raw passes bytes as they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

// changes counts the fields of number 2, which are the changes of a message.
func changes(message []byte) int {
	count := 0
	for at := 0; at < len(message); {
		tag, n := varint(message[at:])
		at += n
		switch tag & 7 {
		case 0:
			_, n = varint(message[at:])
			at += n
		case 2:
			size, n := varint(message[at:])
			at += n + int(size)
			if tag>>3 == 2 {
				count++
			}
		default:
			log.Fatalf("a field of wire type %d", tag&7)
		}
	}
	return count
}

func varint(data []byte) (uint64, int) {
	var value uint64
	for i, b := range data {
		value |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return value, i + 1
		}
	}
	log.Fatal("a message that breaks off")
	return 0, 0
}

// arrival is one message at one watcher: its place in the round, and how many changes it ends at.
type arrival struct {
	at      time.Time
	changes int
}

type watcher struct {
	mutex    sync.Mutex
	arrivals []arrival
	told     int
	wanted   int
	messages [][]byte
	keep     bool
	done     *sync.WaitGroup
}

func (w *watcher) take(message []byte) {
	at, count := time.Now(), changes(message)
	if count == 0 {
		return
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	before := w.told
	w.told += count
	w.arrivals = append(w.arrivals, arrival{at, w.told})
	if w.keep {
		w.messages = append(w.messages, message)
	}
	if w.wanted > 0 && before < w.wanted && w.told >= w.wanted {
		w.done.Done()
	}
}

func (w *watcher) begin(wanted int, done *sync.WaitGroup) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.arrivals, w.messages, w.told, w.wanted, w.done = nil, nil, 0, wanted, done
}

func follow(address, method string, request []byte, w *watcher, ready *sync.WaitGroup) {
	connection, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		log.Fatal(err)
	}
	stream, err := connection.NewStream(context.Background(),
		&grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		log.Fatal(err)
	}
	if err := stream.SendMsg(&request); err != nil {
		log.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		log.Fatal(err)
	}
	first := true
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			log.Fatalf("a watch ended: %v", err)
		}
		w.take(message)
		if first {
			first = false
			ready.Done()
		}
	}
}

// round gathers what all watchers saw. A change's delay is counted from the first who had it.
func round(watchers []*watcher) Round {
	var first, last time.Time
	earliest := map[int]time.Time{}
	deliveries := 0
	for _, w := range watchers {
		w.mutex.Lock()
		deliveries += w.told
		for _, each := range w.arrivals {
			if first.IsZero() || each.at.Before(first) {
				first = each.at
			}
			if each.at.After(last) {
				last = each.at
			}
			if known, ok := earliest[each.changes]; !ok || each.at.Before(known) {
				earliest[each.changes] = each.at
			}
		}
		w.mutex.Unlock()
	}
	var delays []float64
	for _, w := range watchers {
		for _, each := range w.arrivals {
			delays = append(delays, each.at.Sub(earliest[each.changes]).Seconds())
		}
	}
	sort.Float64s(delays)
	result := Round{
		Deliveries: deliveries,
		Seconds:    last.Sub(first).Seconds(),
		P50:        delays[len(delays)/2],
		P99:        delays[len(delays)*99/100],
	}
	for i, message := range watchers[0].messages {
		result.Messages = append(result.Messages, hex.EncodeToString(message))
		result.Times = append(result.Times,
			watchers[0].arrivals[i].at.Sub(watchers[0].arrivals[0].at).Seconds())
	}
	return result
}

func main() {
	request, err := hex.DecodeString(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	count, err := strconv.Atoi(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	var ready sync.WaitGroup
	ready.Add(count)
	watchers := make([]*watcher, count)
	for i := range watchers {
		watchers[i] = &watcher{keep: i == 0}
		go follow(os.Args[1], os.Args[2], request, watchers[i], &ready)
	}
	ready.Wait()
	fmt.Println(0)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		wanted, err := strconv.Atoi(lines.Text())
		if err != nil {
			log.Fatal(err)
		}
		var done sync.WaitGroup
		done.Add(count)
		for _, w := range watchers {
			w.begin(wanted, &done)
		}
		fmt.Println(0)
		done.Wait()
		if err := json.NewEncoder(os.Stdout).Encode(round(watchers)); err != nil {
			log.Fatal(err)
		}
	}
}
