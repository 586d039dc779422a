"""Formats of other tools, one module per format.

    subtitles    WebVTT, SRT             any player               write; WebVTT also read
    audacity     label track             Audacity                 read, write
    elan         .eaf                    ELAN                     read, write
    boris        project                 BORIS                    read, write
    via          CSV                     VGG Image Annotator 3    read, write
    labelstudio  import JSON and XML     Label Studio             write
    raven        selection table         Raven                    read, write
    otio         timeline                OpenTimelineIO           write
    parquet      table                   pandas, R, DuckDB        write
    sed_scores   frame scores, events    sed_scores_eval (PSDS)   write

    spreadsheet  what counts as found, as found.xlsx and found.csv
    segments     the segments of one video, and helpers for all formats
    registry     all formats that can be written, by name
    corrections  corrections of people, in any format that holds ground truth
    convert      read any format, and convert between formats

Import from the modules: importing this package loads none of them.
"""
