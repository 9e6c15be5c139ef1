//go:build linux

package measure

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Cgroups is where cgroup v2 is mounted.
const Cgroups = "/sys/fs/cgroup/unified"

// NeedsRoot skips a test where programs cannot be loaded, and fails it in CI.
func NeedsRoot(t testing.TB) {
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("CI") != "":
		t.Fatal("must run as root in CI")
	default:
		t.Skip("needs root, to load programs and to make a network namespace")
	}
}

// A Host is a network namespace in which every IPv4 address is local, for the
// calling goroutine only, and a cgroup that this process is in: sockets can be
// connected to anything, and nothing leaves.
type Host struct{ cgroup string }

// NewHost makes a host. Its goroutine keeps its thread, which ends with the
// namespace.
func NewHost() (*Host, error) {
	runtime.LockOSThread() // and never unlock it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("a network namespace: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	everywhere := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: unix.RT_SCOPE_HOST}
	if err := errors.Join(netlink.LinkSetUp(lo), netlink.RouteAdd(everywhere)); err != nil {
		return nil, err
	}
	h := &Host{filepath.Join(Cgroups, fmt.Sprintf("hopgate-bench-%d", os.Getpid()))}
	if err := os.Mkdir(h.cgroup, 0o755); err != nil {
		return nil, err
	}
	return h, join(h.cgroup)
}

func join(cgroup string) error {
	return os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), strconv.AppendInt(nil, int64(os.Getpid()), 10), 0o644)
}

// Close leaves the cgroup and removes it.
func (h *Host) Close() error {
	return errors.Join(join(Cgroups), os.Remove(h.cgroup))
}

// Connect attaches a connect program and connects a UDP socket, which sends nothing,
// to each address.
func (h *Host) Connect(p *ebpf.Program, to []netip.AddrPort) Batch {
	return Batch{p, func(round int) error { return h.connect(p, share(to, round), func(int, error) {}) }}
}

// Denied says which addresses a connect program denies.
func (h *Host) Denied(p *ebpf.Program, to []netip.AddrPort) ([]bool, error) {
	denied := make([]bool, len(to))
	err := h.connect(p, to, func(i int, err error) { denied[i] = err == unix.EPERM })
	return denied, err
}

func (h *Host) connect(p *ebpf.Program, to []netip.AddrPort, connected func(i int, err error)) error {
	ipv6 := to[0].Addr().Is6()
	l, err := link.AttachCgroup(link.CgroupOptions{Path: h.cgroup, Attach: connectType(ipv6), Program: p})
	if err != nil {
		return err
	}
	defer l.Close()
	domain := unix.AF_INET
	if ipv6 {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for i, a := range to {
		if ipv6 {
			err = unix.Connect(fd, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()})
		} else {
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()})
		}
		connected(i, err) // some addresses are unreachable
	}
	return nil
}

func connectType(ipv6 bool) ebpf.AttachType {
	if ipv6 {
		return ebpf.AttachCGroupInet6Connect
	}
	return ebpf.AttachCGroupInet4Connect
}

// LoadConnect loads a connect program that needs no maps of its own.
func LoadConnect(ipv6 bool, code asm.Instructions) (*ebpf.Program, error) {
	return Load(ebpf.CGroupSockAddr, connectType(ipv6), code)
}

// EmptyConnect is a program that allows every connection.
func EmptyConnect(ipv6 bool) (*ebpf.Program, error) {
	return LoadConnect(ipv6, asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()})
}
