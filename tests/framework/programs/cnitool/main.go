// cnitool COMMAND NETWORK NETNS: what runtimes do with a network's configuration list, by libcni itself.
//
// A result is printed to standard output, an error with its code to standard error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: cnitool add|check|del NETWORK NETNS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		var told *types.Error
		if errors.As(err, &told) {
			fmt.Fprintf(os.Stderr, "%d: ", told.Code)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(command, network, netns string) error {
	list, err := libcni.LoadConfList(os.Getenv("NETCONFPATH"), network)
	if err != nil {
		return err
	}
	attachment, err := attachment(netns)
	if err != nil {
		return err
	}
	cni := libcni.NewCNIConfigWithCacheDir(filepath.SplitList(os.Getenv("CNI_PATH")), os.Getenv("CNI_CACHE"), nil)
	switch command {
	case "add":
		result, err := cni.AddNetworkList(context.TODO(), list, attachment)
		if err != nil {
			return err
		}
		return result.Print()
	case "check":
		return cni.CheckNetworkList(context.TODO(), list, attachment)
	case "del":
		return cni.DelNetworkList(context.TODO(), list, attachment)
	}
	return fmt.Errorf("unknown command %s", command)
}

// attachment is the container CONTAINER, its interface IFNAME, the JSON of CAP_ARGS and the pairs of CNI_ARGS.
func attachment(netns string) (*libcni.RuntimeConf, error) {
	conf := &libcni.RuntimeConf{ContainerID: os.Getenv("CONTAINER"), NetNS: netns, IfName: os.Getenv("IFNAME")}
	if text := os.Getenv("CAP_ARGS"); text != "" {
		if err := json.Unmarshal([]byte(text), &conf.CapabilityArgs); err != nil {
			return nil, err
		}
	}
	var pairs [][2]string
	if text := os.Getenv("ARGS"); text != "" {
		if err := json.Unmarshal([]byte(text), &pairs); err != nil {
			return nil, err
		}
	}
	conf.Args = pairs
	return conf, nil
}
