package runtime

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
)

// noteAccepted notes the TCP connections that were accepted before the program was
// attached, in every network namespace that processes of the cgroup are in, and makes the
// program forget what it has decided of them meanwhile. The kernel does not keep who
// opened a connection, but a socket that it makes for an accepted one sends multicast by
// the interface that the SYN came by, which nobody may set for TCP. One that has connected
// anew has that still, so that its local port must be a listener's as well.
func (k *Kernel) noteAccepted() error {
	if !ReadsDevices() {
		return errors.New("telling them takes CAP_PERFMON")
	}
	ports, err := ebpf.NewMap(&ebpf.MapSpec{Name: "hopgate_ports", Type: ebpf.Hash, KeySize: 2, ValueSize: 1, MaxEntries: 1 << 16})
	if err != nil {
		return err
	}
	defer ports.Close()
	spec, err := k.acceptedSpec(ports)
	if err != nil {
		return err
	}
	program, err := ebpf.NewProgram(spec)
	if err != nil {
		return explainLoad(err)
	}
	defer program.Close()
	// What this process opens by path is that of its own namespace, but what the
	// thread opens below /proc/thread-self/net is of the thread's.
	done := make(chan error)
	go func() {
		goruntime.LockOSThread() // and never unlocked: the thread ends with its namespace
		done <- eachNamespace(k.opts.Cgroup, func() error { return noteListeners(ports, program) })
	}()
	return errors.Join(<-done, k.Refresh())
}

// noteListeners notes what was accepted in the namespace of the calling thread.
func noteListeners(ports *ebpf.Map, program *ebpf.Program) error {
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open("/proc/thread-self/net/" + table)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			// sl local_address rem_address st ...
			fields := strings.Fields(lines.Text())
			const listen = "0A"
			if len(fields) < 4 || fields[3] != listen {
				continue
			}
			var port uint16
			_, text, _ := strings.Cut(fields[1], ":")
			if _, err := fmt.Sscanf(text, "%X", &port); err == nil {
				if err := ports.Put(port, uint8(1)); err != nil {
					_ = f.Close()
					return err
				}
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return err
		}
	}
	sockets, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return err
	}
	defer sockets.Close()
	run, err := sockets.Open()
	if err != nil {
		return err
	}
	defer run.Close()
	_, err = io.Copy(io.Discard, run)
	return err
}

// acceptedSpec is a program that the kernel runs for each TCP socket.
func (k *Kernel) acceptedSpec(ports *ebpf.Map) (*ebpf.ProgramSpec, error) {
	kernel, err := k.cache.Kernel()
	if err != nil {
		return nil, explainLoad(err)
	}
	offset := map[string]int16{}
	for _, name := range []string{"sock_common", "inet_sock", "ipv6_pinfo"} {
		var structure *btf.Struct
		if err := kernel.TypeByName(name, &structure); err != nil {
			return nil, explainLoad(err)
		}
		for _, m := range flatten(structure.Members, 0) {
			offset[m.Name] = int16(m.Offset.Bytes())
		}
	}
	const established = 1
	skip, accepted := "skip", "accepted"
	return &ebpf.ProgramSpec{
		Name: "accepted", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "tcp", License: codegen.License,
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R6, asm.R1, 8, asm.DWord), // struct bpf_iter__tcp: sk_common
			asm.JEq.Imm(asm.R6, 0, skip),
			asm.LoadMem(asm.R1, asm.R6, offset["skc_state"], asm.Byte),
			asm.JNE.Imm(asm.R1, established, skip),
			asm.LoadMem(asm.R1, asm.R6, offset["skc_num"], asm.Half),
			asm.StoreMem(asm.R10, -8, asm.R1, asm.Half),
			asm.LoadMapPtr(asm.R1, ports.FD()),
			asm.Mov.Reg(asm.R2, asm.R10),
			asm.Add.Imm(asm.R2, -8),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, skip),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.FnSkcToTcpSock.Call(),
			asm.JEq.Imm(asm.R0, 0, skip),
			asm.LoadMem(asm.R1, asm.R0, offset["mc_index"], asm.Word), // a tcp_sock begins with an inet_sock
			asm.JNE.Imm(asm.R1, 0, accepted),
			asm.LoadMem(asm.R1, asm.R0, offset["pinet6"], asm.DWord), // nothing for IPv4, which reads as 0
			asm.LoadMem(asm.R1, asm.R1, offset["mcast_oif"], asm.Word),
			asm.JEq.Imm(asm.R1, 0, skip),
			asm.LoadMapPtr(asm.R1, k.kept[codegen.SocketsMap].FD()).WithSymbol(accepted),
			asm.Mov.Reg(asm.R2, asm.R0),
			asm.Mov.Imm(asm.R3, 0),
			asm.Mov.Imm(asm.R4, 1), // BPF_SK_STORAGE_GET_F_CREATE
			asm.FnSkStorageGet.Call(),
			asm.JEq.Imm(asm.R0, 0, skip),
			asm.Mov.Imm(asm.R1, codegen.SocketAccepted),
			asm.StoreMem(asm.R0, codegen.SocketDirection, asm.R1, asm.Word),
			asm.Mov.Imm(asm.R0, 0).WithSymbol(skip),
			asm.Return(),
		},
	}, nil
}

// flatten gives the members of a structure with those of the unnamed ones in it.
func flatten(members []btf.Member, base btf.Bits) []btf.Member {
	var all []btf.Member
	for _, m := range members {
		m.Offset += base
		if m.Name != "" {
			all = append(all, m)
			continue
		}
		switch inner := btf.UnderlyingType(m.Type).(type) {
		case *btf.Struct:
			all = append(all, flatten(inner.Members, m.Offset)...)
		case *btf.Union:
			all = append(all, flatten(inner.Members, m.Offset)...)
		}
	}
	return all
}

// eachNamespace calls f in this process's network namespace and in those of the processes
// in a cgroup and below, to which it moves the calling thread. It goes on where that fails,
// and gives the first error.
func eachNamespace(cgroup string, f func() error) error {
	own, err := namespaceNumber("/proc/self/ns/net")
	if err != nil {
		return err
	}
	problem := f()
	seen := map[uint64]bool{own: true}
	err = filepath.WalkDir(cgroup, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "cgroup.procs" {
			return err
		}
		processes, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for pid := range strings.FieldsSeq(string(processes)) {
			namespace := "/proc/" + pid + "/ns/net"
			number, err := namespaceNumber(namespace)
			if err == nil && !seen[number] {
				seen[number] = true
				if err = enterNamespace(namespace); err == nil {
					err = f()
				}
			}
			if !errors.Is(err, fs.ErrNotExist) { // else the process has ended
				problem = cmp.Or(problem, err)
			}
		}
		return nil
	})
	return cmp.Or(problem, err)
}

func namespaceNumber(path string) (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return stat.Ino, nil
}

// enterNamespace moves the calling thread to a network namespace.
func enterNamespace(path string) error {
	namespace, err := os.Open(path)
	if err != nil {
		return err
	}
	defer namespace.Close()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return &fs.PathError{Op: "setns", Path: path, Err: err}
	}
	return nil
}
