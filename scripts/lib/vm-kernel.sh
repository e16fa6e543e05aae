# Sourced by scripts/vm: Debian's kernel 6.12 with its modules, and the archive that the machine starts from.

# What stands between the start and the root; everything else is loaded on demand.
first_modules="virtio_pci virtio_console 9pnet_virtio 9p overlay"

# Makes target/vm/KERNEL, if it is not there, and prints its path.
prepare_kernel() {
    local cache package dir
    cache=$(cargo metadata --format-version 1 --no-deps --offline | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/vm
    mkdir -p "$cache"
    exec 9> "$cache/lock"
    flock 9
    dir=$(find "$cache" -mindepth 1 -maxdepth 1 -name 'linux-*' | sort -V | tail -n 1)
    if [ -z "$dir" ]; then
        package=$(download_kernel "$cache")
        dir=$(unpack_kernel "$cache" "$package")
        rm -f "$package"
    fi
    # Cheap, and so that a change of scripts/lib/vm-init needs no thought.
    make_archive "$dir" >&2
    exec 9>&-
    echo "$dir"
}

# apt with the lists of the release that has this kernel, beside those of the machine itself.
other_apt() {
    local command=$1
    shift
    "$command" -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$apt/lists" \
        -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root "$@"
}

# Where this machine gets its own packages from.
debian_mirror() {
    local mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(CODENAME)' 'Created-By: Packages' |
        awk '$2 == "Debian" && $3 !~ /security|updates/ { print $1; exit }')
    if [ -z "$mirror" ]; then
        echo "vm: this is not Debian, whose packages are needed" >&2
        return 1
    fi
    echo "$mirror"
}

download_kernel() {
    local cache=$1 apt mirror package
    mirror=$(debian_mirror)
    apt=$cache/apt
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" > "$apt/sources.list"
    other_apt apt-get update -qq >&2
    package=$(other_apt apt-cache search --names-only '^linux-image-6\.12\.[0-9]+\+deb[0-9]+-amd64$' |
        cut -d ' ' -f 1 | sort -V | tail -n 1)
    echo "vm: downloading $package" >&2
    (cd "$cache" && other_apt apt-get download -qq "$package" >&2)
    rm -rf "$apt"
    find "$cache" -maxdepth 1 -name 'linux-image-*.deb'
}

unpack_kernel() {
    local cache=$1 package=$2 part=$1/part version
    rm -rf "$part"
    mkdir "$part"
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$part" --wildcards './boot/vmlinuz*' '*lib/modules/*'
    [ ! -d "$part/usr/lib" ] || mv "$part/usr/lib" "$part/lib"
    version=$(ls "$part/lib/modules")
    mv "$part/boot/vmlinuz-$version" "$part/vmlinuz"
    depmod -b "$part" "$version"
    ln -s "lib/modules/$version" "$part/modules"
    # What was begun and not finished never has the name.
    mv "$part" "$cache/linux-$version"
    echo "$cache/linux-$version"
}

make_archive() {
    local dir=$1 root version module name
    [ -z "$(find scripts/lib/vm-* -newer "$dir/initramfs" 2>/dev/null || echo none)" ] && return 0
    version=$(basename "$(readlink "$dir/modules")")
    root=$(mktemp -d)
    mkdir -p "$root"/{bin,dev,proc,sys,new,lower,over}
    cp "$(dpkg -L busybox-static | grep -E '/bin/busybox$' | head -n 1)" "$root/bin/busybox"
    install -m 755 scripts/lib/vm-init "$root/init"
    cp scripts/lib/vm-job "$root/run-job"
    for name in $first_modules; do
        modprobe -S "$version" -d "$dir" --show-depends "$name"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
        name=$(basename "$module" .xz)
        case $module in
            *.xz) xz -dc "$module" > "$root/$name" ;;
            *) cp "$module" "$root/$name" ;;
        esac
        echo "insmod /$name"
    done > "$root/load"
    (cd "$root" && find . | cpio --quiet -o -H newc) > "$dir/initramfs.part"
    rm -rf "$root"
    mv "$dir/initramfs.part" "$dir/initramfs"
}
