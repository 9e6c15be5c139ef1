package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/hopgate/hopgate/codegen"
)

// ReadsDevices reports whether programs may read devices themselves. Where not, they
// are generated with codegen.Options.DeviceMap.
func ReadsDevices() bool { return holds(unix.CAP_PERFMON) || holds(unix.CAP_SYS_ADMIN) }

// refreshDevices makes the devices map say what this namespace's devices are now.
func (k *Kernel) refreshDevices(m *ebpf.Map) (changed bool, err error) {
	found, err := listDevices()
	if err != nil {
		return false, fmt.Errorf("devices: %w", err)
	}
	known := map[uint64]codegen.Device{}
	var key codegen.DeviceKey
	var d codegen.Device
	entries := m.Iterate()
	for entries.Next(&key, &d) {
		if key.Network == k.state.Network {
			known[key.Index] = d
		}
	}
	err = entries.Err()
	for index := range known {
		if _, ok := found[index]; !ok {
			err = errors.Join(err, m.Delete(codegen.DeviceKey{Network: k.state.Network, Index: index}))
		}
	}
	for index, d := range found {
		if before, ok := known[index]; !ok || before != d {
			err = errors.Join(err, m.Put(codegen.DeviceKey{Network: k.state.Network, Index: index}, d))
		}
	}
	if err != nil {
		err = fmt.Errorf("devices: %w", err)
	}
	return !maps.Equal(found, known), err
}

// listDevices gives the types of all devices of this namespace, by index. One that
// cannot be told is left out, and so unknown.
func listDevices() (map[uint64]codegen.Device, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	messages, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, err
	}
	found := map[uint64]codegen.Device{}
	for _, m := range messages {
		info := nl.DeserializeIfInfomsg(m)
		attributes, err := textAttributes(m[info.Len():])
		if err != nil {
			return nil, err
		}
		inner, err := textAttributes([]byte(attributes[unix.IFLA_LINKINFO]))
		if err != nil {
			return nil, err
		}
		kind := cString(inner[unix.IFLA_INFO_KIND])
		device, known := deviceType(cString(attributes[unix.IFLA_IFNAME]), int(info.Index))
		if !known && kind == "" && info.Type != unix.ARPHRD_LOOPBACK {
			continue // Wi-Fi and Ethernet differ in that alone
		}
		var d codegen.Device
		d.InterfaceType, d.TunnelType = codegen.ClassifyDevice(info.Type, kind, device)
		found[uint64(info.Index)] = d
	}
	return found, nil
}

func textAttributes(b []byte) (map[int]string, error) {
	attributes, err := nl.ParseRouteAttr(b)
	text := map[int]string{}
	for _, a := range attributes {
		text[int(a.Attr.Type&^unix.NLA_F_NESTED)] = string(a.Value)
	}
	return text, err
}

func cString(s string) string { return string(bytes.TrimRight([]byte(s), "\x00")) }

// deviceType reads a device's type (DEVTYPE), which netlink does not tell. It is not
// known where /sys shows another namespace.
func deviceType(name string, index int) (device string, known bool) {
	text, err := os.ReadFile("/sys/class/net/" + name + "/uevent")
	if err != nil {
		return "", false
	}
	lines := bytes.Split(text, []byte("\n"))
	for _, line := range lines {
		if value, ok := bytes.CutPrefix(line, []byte("DEVTYPE=")); ok {
			device = string(value)
		}
	}
	return device, slices.ContainsFunc(lines, func(line []byte) bool { return string(line) == fmt.Sprintf("IFINDEX=%d", index) })
}
