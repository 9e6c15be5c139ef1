//go:build linux

package baseline

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"

	"github.com/cilium/ebpf"
)

var (
	ErrNoClang  = errors.New("no clang: apt install clang")
	ErrTooLarge = errors.New("clang needs more stack than eBPF has")
)

// Clang compiles a C program for the Linux kernel with -O2.
func Clang(source string) (*ebpf.CollectionSpec, error) {
	path, err := exec.LookPath("clang")
	if err != nil {
		return nil, ErrNoClang
	}
	// -g writes the BTF that describes the maps.
	clang := exec.Command(path, "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Werror", "-Wall", "-Wno-unused-function", "-c", "-x", "c", "-", "-o", "-")
	clang.Stdin = bytes.NewReader([]byte(source))
	var object, messages bytes.Buffer
	clang.Stdout, clang.Stderr = &object, &messages
	if err := clang.Run(); err != nil {
		if bytes.Contains(messages.Bytes(), []byte("stack limit")) {
			return nil, ErrTooLarge
		}
		return nil, fmt.Errorf("clang: %w\n%s", err, &messages)
	}
	return ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object.Bytes()))
}
