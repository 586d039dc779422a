"""Formats that other people's tools open; one module a format. `avloc.interchange.registry` chooses among them.

    subtitles    WebVTT, SRT             any player               WebVTT is also read
    audacity     label track             Audacity                 also read
    elan         .eaf                    ELAN                     also read
    boris        project                 BORIS                    also read
    via          CSV                     VGG Image Annotator 3    also read
    labelstudio  import JSON and XML     Label Studio
    raven        selection table         Raven
    otio         timeline                OpenTimelineIO
    parquet      table                   pandas, R, DuckDB

Import from the modules: importing this package loads none of them.
"""
