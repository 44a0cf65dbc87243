package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// As much of RFC 6455 as an echo of small messages needs: each is one frame of at most 125 bytes, a client's is masked.
const (
	magic       = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	exampleKey  = "dGhlIHNhbXBsZSBub25jZQ=="
	textFrame   = 0x81
	maskBit     = 0x80
	maskBytes   = 4
	messageSize = 100
)

// echo accepts a WebSocket and sends back what it hears until the client leaves.
func echo(w http.ResponseWriter, r *http.Request) {
	digest := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + magic))
	connection, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	fmt.Fprintf(connection, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(digest[:]))
	for {
		payload, err := readFrame(buffered.Reader, true)
		if err != nil {
			return
		}
		if _, err := connection.Write(append([]byte{textFrame, byte(len(payload))}, payload...)); err != nil {
			return
		}
	}
}

// readFrame returns the payload of the next frame.
func readFrame(reader *bufio.Reader, isMasked bool) ([]byte, error) {
	size := 2
	if isMasked {
		size += maskBytes
	}
	head := make([]byte, size)
	if _, err := io.ReadFull(reader, head); err != nil {
		return nil, err
	}
	payload := make([]byte, head[1]&^maskBit)
	if head[0] != textFrame || len(payload) > 125 {
		return nil, errors.New("not a small text")
	}
	_, err := io.ReadFull(reader, payload)
	if isMasked {
		for place := range payload {
			payload[place] ^= head[2+place%maskBytes]
		}
	}
	return payload, err
}

// websocket: -c clients, each of which says a message of 100 bytes and waits for its echo, for -d.
func websocket(arguments []string) {
	flags := flag.NewFlagSet("websocket", flag.ExitOnError)
	address := flags.String("url", "", "")
	count := flags.Int("c", 1, "clients")
	seconds := flags.Duration("d", 5*time.Second, "")
	flags.Parse(arguments)
	giveUp(*seconds)
	until := time.Now().Add(*seconds)
	inParallel(*count, func() (own figures) {
		if err := talk(*address, until, &own); err != nil {
			own.refuse(err)
		}
		return own
	})
}

func talk(address string, until time.Time, own *figures) error {
	connection, reader, err := openWebSocket(address)
	if err != nil {
		return err
	}
	defer connection.Close()
	message := bytes.Repeat([]byte("m"), messageSize)
	frame := append([]byte{textFrame, maskBit | messageSize, 0, 0, 0, 0}, message...) // a mask of zeros changes nothing
	for time.Now().Before(until) {
		begun := time.Now()
		if _, err := connection.Write(frame); err != nil {
			return err
		}
		back, err := readFrame(reader, false)
		if err != nil {
			return err
		}
		if !bytes.Equal(back, message) {
			return errors.New("another message came back")
		}
		own.good++
		own.times = append(own.times, microseconds(begun))
	}
	return nil
}

func openWebSocket(address string) (net.Conn, *bufio.Reader, error) {
	target, err := url.Parse(address)
	check(err)
	connection, err := dial(target)
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", target.Path, target.Host, exampleKey)
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, nil)
	if err == nil && response.StatusCode != http.StatusSwitchingProtocols {
		err = errors.New(response.Status)
	}
	if err != nil {
		connection.Close()
		return nil, nil, err
	}
	return connection, reader, nil
}

func dial(target *url.URL) (net.Conn, error) {
	if target.Scheme == "https" {
		return tls.Dial("tcp", target.Host, &tls.Config{InsecureSkipVerify: true})
	}
	return net.Dial("tcp", target.Host)
}
