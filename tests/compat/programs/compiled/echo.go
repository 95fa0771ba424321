// Go's net/http at both ends, and an echo of streams: echo serve|ask|hold HOST PORT.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

func body(number int) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("%d;", number), 1000+number*50))
}

func echo(answer http.ResponseWriter, request *http.Request) {
	got, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(answer, err.Error(), 500)
		return
	}
	answer.Write(got)
}

func check(err error) {
	if err != nil {
		fmt.Println("WRONG:", err)
		os.Exit(1)
	}
}

func ask(client *http.Client, url string, number int) {
	answer, err := client.Post(fmt.Sprintf("%s/%d", url, number), "text/plain", bytes.NewReader(body(number)))
	check(err)
	got, err := io.ReadAll(answer.Body)
	check(err)
	answer.Body.Close()
	if !bytes.Equal(got, body(number)) {
		check(fmt.Errorf("%d bytes of request %d are wrong", len(got), number))
	}
}

func askAll(url string, keep bool) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: !keep}, Timeout: 8 * time.Second}
	var group sync.WaitGroup
	for worker := 0; worker < 8; worker++ {
		group.Add(1)
		go func(first int) {
			defer group.Done()
			for number := first; number < 200; number += 8 {
				ask(client, url, number)
			}
		}(worker)
	}
	group.Wait()
}

func main() {
	address := os.Args[2] + ":" + os.Args[3]
	switch os.Args[1] {
	case "serve":
		check(http.ListenAndServe(address, http.HandlerFunc(echo)))
	case "hold":
		reader, writer := io.Pipe()
		request, err := http.NewRequest("POST", "http://"+address+"/hold", reader)
		check(err)
		go func() {
			writer.Write([]byte("x"))
			fmt.Println("held")
		}()
		_, err = http.DefaultClient.Do(request)
		fmt.Println(err)
	default:
		askAll("http://"+address, true)
		askAll("http://"+address, false)
		fmt.Println("all right")
	}
}
