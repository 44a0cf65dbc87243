package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// asked is what a request says of its answer.
type asked struct {
	Stream bool `json:"stream"`
	Chunks int  `json:"chunks"`
	GapUs  int  `json:"gap_us"`
	Pad    int  `json:"pad"`
}

const usage = `"usage":{"prompt_tokens":10,"completion_tokens":%d,"total_tokens":%d}`

// upstream serves until it is killed. With -loading it says 503 for so long, as a server that loads a model.
func upstream(arguments []string) {
	flags := flag.NewFlagSet("upstream", flag.ExitOnError)
	address := flags.String("addr", "127.0.0.1:9110", "")
	tlsAddress := flags.String("tls", "", "")
	certificateFile := flags.String("certificate", "", "")
	keyFile := flags.String("key", "", "")
	loading := flags.Duration("loading", 0, "")
	flags.Parse(arguments)
	ready := time.Now().Add(*loading)
	http.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
		if time.Now().Before(ready) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		w.Write([]byte("ok"))
	})
	http.HandleFunc("/echo", echo)
	http.HandleFunc("/", answer)
	if *tlsAddress != "" {
		go func() { check(http.ListenAndServeTLS(*tlsAddress, *certificateFile, *keyFile, nil)) }()
	}
	check(http.ListenAndServe(*address, nil))
}

func answer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var request asked
	json.Unmarshal(body, &request)
	if request.Stream {
		stream(w, request)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	content := strings.Repeat("x", request.Pad)
	fmt.Fprintf(w, `{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",`+
		`"content":"%s"},"finish_reason":"stop"}],`+usage+`}`, content, 5, 15)
}

// stream writes each chunk at its moment, and the moment into the chunk.
func stream(w http.ResponseWriter, request asked) {
	w.Header().Set("Content-Type", "text/event-stream")
	flusher := w.(http.Flusher)
	next := time.Now()
	for range request.Chunks {
		fmt.Fprintf(w, `data: {"id":"c","object":"chat.completion.chunk","model":"m","ts":%d,"choices":[{"index":0,`+
			`"delta":{"content":" token"},"finish_reason":null}]}`+"\n\n", time.Now().UnixNano())
		flusher.Flush()
		if request.GapUs > 0 {
			next = next.Add(time.Duration(request.GapUs) * time.Microsecond)
			time.Sleep(time.Until(next))
		}
	}
	fmt.Fprintf(w, `data: {"choices":[],`+usage+"}\n\ndata: [DONE]\n\n", request.Chunks, request.Chunks+10)
	flusher.Flush()
}
