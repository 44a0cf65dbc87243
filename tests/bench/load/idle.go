package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
)

const opening = 8 // connections are opened by so many at once

// idle opens -c connections, has one small chat on each, says "ready" and keeps them until its input ends.
func idle(arguments []string) {
	flags := flag.NewFlagSet("idle", flag.ExitOnError)
	address := flags.String("url", "", "")
	count := flags.Int("c", 5000, "connections")
	flags.Parse(arguments)
	giveUp(0)
	target, err := url.Parse(*address)
	check(err)
	connections := make([]net.Conn, *count)
	var group sync.WaitGroup
	for first := range opening {
		group.Add(1)
		go func() {
			defer group.Done()
			for place := first; place < *count; place += opening {
				connections[place] = openIdle(target)
			}
		}()
	}
	group.Wait()
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	for _, connection := range connections {
		connection.Close()
	}
}

func openIdle(target *url.URL) net.Conn {
	connection, err := dial(target)
	check(err)
	body := `{"model":"model1","messages":[{"role":"user","content":"hello"}]}`
	fmt.Fprintf(connection, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\n\r\n%s", target.Host, len(body), body)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	check(err)
	said, err := io.ReadAll(response.Body)
	check(err)
	if response.StatusCode != http.StatusOK || strings.EqualFold(response.Header.Get("Connection"), "close") {
		fail(response.Status, string(said))
	}
	return connection
}
