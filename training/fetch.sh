#!/bin/sh
# Unpacks, without installing, the Debian 12 packages that training reads: sh fetch.sh FOLDER
# Free PDFs, fonts and word lists; see README.md for their licences. About 800 MB of downloads.
set -eu
mkdir -p "$1/debs" "$1/root"
cd "$1/debs"
apt-get download \
  texlive-publishers-doc texlive-pictures-doc texlive-latex-recommended-doc texlive-science-doc \
  texlive-humanities-doc texlive-lang-greek texlive-lang-cyrillic debian-handbook debian-policy maint-guide doc-debian \
  wamerican wfrench wngerman wspanish witalian wpolish wportuguese wswedish wbulgarian wukrainian \
  hunspell-ru hunspell-el \
  fonts-cmu fonts-lmodern fonts-noto-core fonts-freefont-ttf fonts-paratype fonts-dejavu-core \
  fonts-dejavu-extra fonts-liberation fonts-urw-base35 fonts-lato fonts-roboto-unhinted \
  fonts-open-sans fonts-crosextra-carlito fonts-crosextra-caladea fonts-linuxlibertine \
  fonts-ebgaramond fonts-inconsolata fonts-hack fonts-cantarell fonts-gfs-didot fonts-gfs-artemisia \
  fonts-sil-gentium fonts-sil-charis fonts-croscore fonts-courier-prime fonts-b612 fonts-vollkorn \
  fonts-jetbrains-mono
for deb in *.deb; do dpkg-deb -x "$deb" ../root; done
