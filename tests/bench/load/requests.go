package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// asking is what all clients of one run have in common.
type asking struct {
	url, key string
	body     []byte
	chunks   int // of each stream; 0 without streams
	until    time.Time
	most     int // requests of each client, whatever the time; 0 until the time is up
	client   *http.Client
}

// requests: chats from -c clients at once, for -d or -n times each, on kept-alive connections unless they are -fresh.
func requests(arguments []string) {
	flags := flag.NewFlagSet("requests", flag.ExitOnError)
	url := flags.String("url", "", "")
	count := flags.Int("c", 1, "clients")
	seconds := flags.Duration("d", 5*time.Second, "")
	most := flags.Int("n", 0, "requests of each client, in place of -d")
	fresh := flags.Bool("fresh", false, "a new connection for each request")
	isStream := flags.Bool("stream", false, "")
	chunks := flags.Int("chunks", 100, "of a stream")
	gap := flags.Duration("gap", 20*time.Millisecond, "between chunks")
	model := flags.String("model", "model1", "")
	pad := flags.Int("pad", 64, "bytes of each answer")
	padRequest := flags.Int("padreq", 100, "bytes of each request")
	key := flags.String("key", "", "")
	flags.Parse(arguments)
	giveUp(*seconds)
	if !*isStream {
		*chunks = 0
	}
	body := fmt.Sprintf(`{"model":"%s","stream":%t,"chunks":%d,"gap_us":%d,"pad":%d,"messages":[{"role":"user","content":"%s"}]}`,
		*model, *isStream, *chunks, gap.Microseconds(), *pad, strings.Repeat("w ", *padRequest/2))
	all := asking{*url, *key, []byte(body), *chunks, time.Now().Add(*seconds), *most, httpClient(*count, *fresh)}
	inParallel(*count, all.one)
}

func httpClient(count int, fresh bool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConns: count, MaxIdleConnsPerHost: count, DisableCompression: true, DisableKeepAlives: fresh,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // which also keeps it at HTTP/1.1
	}}
}

// one is the life of one client.
func (all *asking) one() (own figures) {
	for all.goesOn(own.good + own.bad) {
		begun := time.Now()
		if err := all.ask(&own); err != nil {
			own.refuse(err)
			continue
		}
		own.good++
		own.times = append(own.times, microseconds(begun))
	}
	return own
}

func (all *asking) goesOn(done int) bool {
	if all.most > 0 {
		return done < all.most
	}
	return time.Now().Before(all.until)
}

// ask is one request, read to its end.
func (all *asking) ask(own *figures) error {
	request, err := http.NewRequest("POST", all.url+"/v1/chat/completions", bytes.NewReader(all.body))
	check(err)
	request.Header.Set("Content-Type", "application/json")
	if all.key != "" {
		request.Header.Set("Authorization", "Bearer "+all.key)
	}
	response, err := all.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		io.Copy(io.Discard, response.Body)
		return errors.New(response.Status)
	}
	if all.chunks > 0 {
		return all.readStream(response.Body, own)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// readStream notes for each chunk how long ago it was written.
func (all *asking) readStream(body io.Reader, own *figures) error {
	reader := bufio.NewReaderSize(body, 65536)
	found, isDone := 0, false
	for {
		line, err := reader.ReadSlice('\n')
		if at := bytes.Index(line, []byte(`"ts":`)); at > 0 {
			written, _ := strconv.ParseInt(string(line[at+5:at+5+19]), 10, 64)
			own.chunkTimes = append(own.chunkTimes, float64(time.Now().UnixNano()-written)/1e3)
			found++
		}
		isDone = isDone || bytes.HasPrefix(line, []byte("data: [DONE]"))
		if err != nil {
			break
		}
	}
	if found != all.chunks || !isDone {
		return fmt.Errorf("a stream with %d chunks of %d", found, all.chunks)
	}
	return nil
}
