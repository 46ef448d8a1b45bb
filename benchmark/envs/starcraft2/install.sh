#!/usr/bin/env bash
# Installs StarCraft II 4.10 and the maps of SMAC and SMACv2; `install.sh --help` shows how.
#
# Blizzard's archive is locked with a sentence: typing it accepts a licence. unzip asks for the
# sentence; this script neither contains nor types it.
set -euo pipefail

game_url=${STARCRAFT2_GAME_URL:-https://blzdistsc2-a.akamaihd.net/Linux/SC2.4.10.zip}
maps_url=${STARCRAFT2_MAPS_URL:-https://github.com/oxwhirl/smacv2/releases/download/maps/SMAC_Maps.zip}
# Blizzard publishes no checksum. A public script (Harimus/SpinningUpPySc2) has this one; nobody
# confirmed it, so another archive is reported and not refused. unzip checks every file's CRC-32.
reported=1052f249f30a242bf5e17cc3315324919f9689307ca6dbcdb30bb41ea3004884
known_maps=$(cd "$(dirname "$0")" && pwd)/maps.sha256

fail() { echo "error: $*" >&2; exit 2; }

usage() {
    cat <<'END'
usage: install.sh [--maps-only] [--zip FILE] [--maps FILE_OR_FOLDER] FOLDER

Downloads StarCraft II 4.10 and the maps of SMAC and SMACv2 into FOLDER. Run it again to continue.
  --zip FILE              the game's archive, if you have it
  --maps FILE_OR_FOLDER   SMAC_Maps.zip or a folder of maps, if you have it
  --maps-only             install the maps alone
END
}

# download URL FILE: continues FILE.partial; leaves a complete FILE alone.
download() {
    [ -f "$2" ] && return
    mkdir -p "$(dirname "$2")"
    curl --fail --location --show-error --continue-at - --output "$2.partial" "$1" ||
        fail "cannot download $1; run the same command again to continue, or use --zip or --maps"
    mv "$2.partial" "$2"
}

install_game() {
    local archive=$zip
    if [ -z "$archive" ]; then
        archive=$folder.${game_url##*/}
        if [ -s "$program" ] && [ ! -f "$archive" ]; then
            echo "StarCraft II 4.10 is already in $folder"
            return
        fi
        download "$game_url" "$archive"
    fi
    [ -f "$archive" ] || fail "there is no archive $archive"
    sha256sum "$archive" | grep -q "^$reported" ||
        echo "note: the SHA-256 of $archive is not the reported $reported" >&2
    cat >&2 <<'END'
StarCraft II is Blizzard's. To use it here you must accept their AI and Machine Learning License:
  https://blzdistsc2-a.akamaihd.net/AI_AND_MACHINE_LEARNING_LICENSE.html
unzip now asks for a password: the sentence that accepts the licence, which is given at
  https://github.com/Blizzard/s2client-proto#downloads
Press Enter alone if you do not accept.
END
    mkdir -p "$folder"
    # All files of the archive are in StarCraftII/: this link makes that our folder.
    ln -s "$folder" "$temporary/StarCraftII"
    unzip -q -o "$archive" -d "$temporary" ||
        fail "$archive was not unpacked: wrong sentence, no terminal to type it, no space, or not a whole zip archive"
    [ -s "$program" ] || fail "$archive does not hold StarCraft II 4.10: there is no $program"
    chmod +x "$program"
    [ -n "$zip" ] || rm "$archive"
}

install_maps() {
    local target=$folder/Maps/SMAC_Maps source=$maps digest name file
    mkdir -p "$target"
    (cd "$target" && sha256sum --check --status "$known_maps" 2>/dev/null) && return
    if [ -z "$source" ]; then
        source=$temporary/SMAC_Maps.zip
        download "$maps_url" "$source"
    fi
    [ -e "$source" ] || fail "there is no $source"
    if [ -f "$source" ]; then
        unzip -q -j "$source" -d "$temporary/maps" || fail "cannot unpack $source"
        source=$temporary/maps
    fi
    while read -r digest name; do
        file=$(find "$source" -name "$name" -type f -print -quit)
        [ -n "$file" ] || fail "${maps:-$maps_url} holds no $name; take $maps_url"
        sha256sum "$file" | grep -q "^$digest" ||
            fail "$file is not the map that this benchmark knows; take $maps_url"
        cp "$file" "$target/$name"
    done <"$known_maps"
    echo "the maps are in $target"
}

folder='' zip='' maps='' with_game=yes
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit ;;
        --maps-only) with_game= ;;
        --zip | --maps)
            [ $# -gt 1 ] || fail "$1 needs a value"
            if [ "$1" = --zip ]; then zip=$2; else maps=$2; fi
            shift ;;
        -*) fail "unknown option $1; see --help" ;;
        *) [ -z "$folder" ] || fail "one folder only; see --help"; folder=$1 ;;
    esac
    shift
done
[ -n "$folder" ] || fail "name the folder to install to; see --help"
for tool in curl unzip sha256sum; do
    command -v "$tool" >/dev/null || fail "$tool is missing; install it with your package manager"
done
folder=$(realpath -m "$folder")
program=$folder/Versions/Base75689/SC2_x64
if [ -f "$program" ] && head -c 200 "$program" | grep -q "stand-in for StarCraft II"; then
    fail "$folder holds the stand-in; choose another folder or delete it"
fi
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
[ -z "$with_game" ] || install_game
install_maps
echo "export SC2PATH=$folder"
echo "python -m benchmark doctor  # checks everything"
